import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.TreeMap;
import org.apache.zookeeper.ZooKeeper;

/** What a subscriber of ZooKeeper sees: host and port of each provider in a list, and how many registrations stand there. */
public final class Providers {
    public static void main(String[] words) throws Exception {
        ZooKeeper client = new ZooKeeper(words[0], 10_000, event -> { });
        try {
            TreeMap<String, Integer> counts = new TreeMap<>();
            for (String name : client.getChildren(words[1], false)) {
                URI provider = URI.create(URLDecoder.decode(name, StandardCharsets.UTF_8).split("\\?")[0]);
                counts.merge(provider.getHost() + ":" + provider.getPort(), 1, Integer::sum);
            }
            counts.forEach((address, count) -> System.out.println("  " + address + "  (" + count + " registrations)"));
        } finally {
            client.close();
        }
    }
}
