#!/usr/bin/env bash
# A live move, from nothing to moved to back, as an operator sees it: three hosts (network namespaces of their own, joined by a bridge), a real ZooKeeper,
# a running provider and a consumer on an unmodified SDK. The provider goes into the mesh and back while the consumer calls.
#
#     sudo examples/move/story.sh [dubbo27|dubbo3|sofarpc]
#
# Needs root, Java 17 with Maven, nft, ss, ip and setpriv (Debian: openjdk-17-jdk-headless maven nftables iproute2 util-linux). It takes
# about two minutes, leaves nothing behind, and ends with 1 when a call failed.
set -euo pipefail
cd "$(dirname "$0")/../.."
sdk="${1:-dubbo3}"
case "$sdk" in
  dubbo27) service=interop.ledger.Dubbo27Sdk list=/dubbo/$service/providers ;;
  dubbo3) service=interop.ledger.Dubbo3Sdk list=/dubbo/$service/providers ;;
  sofarpc) service=interop.ledger.SofaRpcSdk list=/sofa-rpc/$service/providers ;;
  *) echo "usage: $0 [dubbo27|dubbo3|sofarpc]" >&2; exit 2 ;;
esac
for need in java mvn ip nft ss nsenter setpriv; do
  command -v "$need" >/dev/null || { echo "$need is needed, and is not on this machine" >&2; exit 2; }
done
[ "$(id -u)" -eq 0 ] || { echo "root is needed, for network namespaces and for the rule: sudo $0 $*" >&2; exit 2; }

folder=$(mktemp -d /tmp/dualmesh-story.XXXXXX)
chmod 755 "$folder"
run=$$ # names of this run only
export XDG_STATE_HOME="$folder/state"
node="$PWD/node_modules/.bin/node"
dualmesh() { "$node" packages/cli/src/main.ts "$@"; }
fixtures=test/interop/fixtures

cleanup() {
  set +e
  exec 3>&- 4>&- 5>&-
  for pid in "${started[@]}"; do kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; done
  for name in net zookeeper orders shop; do
    ip netns pids "story$run-$name" 2>/dev/null | xargs -r kill 2>/dev/null
  done
  sleep 0.5
  for name in net zookeeper orders shop; do
    ip netns pids "story$run-$name" 2>/dev/null | xargs -r kill -9 2>/dev/null
    ip netns del "story$run-$name" 2>/dev/null
  done
  rm -rf "$folder"
}
started=()
trap cleanup EXIT
trap 'exit 130' INT TERM

title() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
# Shows a command as it is typed, and runs it.
type_and_run() { printf '\033[32m$ sudo dualmesh %s\033[0m\n' "$*"; dualmesh "$@"; }

# --- the company as it is ---------------------------------------------------------------------------------------------------------

title "building the applications, once"
[ -f "$fixtures/$sdk/target/app.jar" ] && [ -f "$fixtures/zookeeper/target/app.jar" ] || mvn --batch-mode --quiet -f "$fixtures" package

title "three hosts: ZooKeeper 10.77.0.2, orders 10.77.0.3, shop 10.77.0.4"
ip netns add "story$run-net"
ip -n "story$run-net" link add bridge0 type bridge
ip -n "story$run-net" link set bridge0 up
number=2
for name in zookeeper orders shop; do
  ip netns add "story$run-$name"
  ip -n "story$run-$name" link set lo up
  ip -n "story$run-net" link add "to-$name" type veth peer name eth0 netns "story$run-$name"
  ip -n "story$run-net" link set "to-$name" master bridge0 up
  ip -n "story$run-$name" addr add "10.77.0.$number/24" dev eth0
  ip -n "story$run-$name" link set eth0 up
  number=$((number + 1))
done
printf '10.77.0.2 zookeeper\n10.77.0.3 orders\n10.77.0.4 shop\n127.0.0.1 localhost\n' >"$folder/hosts"

# host NAME USER PROGRAM-LOG JAVA-WORDS…: a Java program on a host as a user of its own, told what to do by descriptor 3, 4 or 5.
java_on() {
  local host=$1 user=$2 name=$3 module=$4
  shift 4
  mkdir -p "$folder/$name"
  chown "$user" "$folder/$name"
  mkfifo "$folder/$name.in"
  nsenter --net="/run/netns/story$run-$host" setpriv --reuid "$user" --regid "$user" --clear-groups \
    env HOME="$folder/$name" java -Xmx160m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true \
    --add-opens java.base/java.lang=ALL-UNNAMED --add-opens java.base/java.util=ALL-UNNAMED --add-opens java.base/java.math=ALL-UNNAMED \
    -Djdk.net.hosts.file="$folder/hosts" -Duser.home="$folder/$name" \
    "$@" <"$folder/$name.in" >"$folder/$name.log" 2>&1 &
  started+=("$!")
}
class_path() { echo "$fixtures/$1/target/app.jar:$fixtures/$1/target/lib/*"; }
until_says() { # NAME TEXT: waits until a program has said so
  local left=600
  until grep -q "$2" "$folder/$1.log"; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || { tail -20 "$folder/$1.log" >&2; echo "$1 is not ready" >&2; exit 1; }
    sleep 0.1
  done
}
failures() { grep -c '"error"' "$folder/shop.log" || true; }
calls() { grep -c '"call"' "$folder/shop.log" || true; }
runs() { echo "orders is process $orders, for $(ps -o etimes= -p "$orders" | tr -d ' ') s"; }
told() { echo "shop: $(calls) calls, $(failures) failed"; }
# What a subscriber of ZooKeeper sees.
show_list() {
  echo "in ZooKeeper, $list:"
  nsenter --net="/run/netns/story$run-zookeeper" java -cp "$(class_path zookeeper)" -Djdk.net.hosts.file="$folder/hosts" \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=off examples/move/Providers.java 10.77.0.2:2181 "$list"
}

title "ZooKeeper, a provider (orders, pid below) and a consumer (shop) that calls it 50 times a second; none knows of dualmesh"
mkdir -p "$folder/data"
chown 4701 "$folder/data"
java_on zookeeper 4701 zookeeper zookeeper -Dport=2181 -Dhost=10.77.0.2 -Ddata="$folder/data" -cp "$(class_path zookeeper)" interop.Server
exec 3>"$folder/zookeeper.in"
until_says zookeeper '"ready":true'
java_on orders 4702 orders "$sdk" -Dregistry=zookeeper://10.77.0.2:2181 -Dapplication=orders -Dprovider=orders -Dservice="$service" -Dport=20880 \
  -cp "$(class_path "$sdk")" interop.Provider
orders="$!"
exec 4>"$folder/orders.in"
until_says orders '"ready":true'
java_on shop 4703 shop "$sdk" -Dregistry=zookeeper://10.77.0.2:2181 -Dapplication=shop -cp "$(class_path "$sdk")" interop.Consumer
exec 5>"$folder/shop.in"
until_says shop '"ready":true'
echo "1 pump $service 50" >&5
until_says shop '"who"'
began=$(failures)
runs
show_list
told

# --- into the mesh ----------------------------------------------------------------------------------------------------------------

title "what would be done"
type_and_run move in --pid "$orders" --dry-run

title "into the mesh"
type_and_run move in --pid "$orders" --before 10s --watch 10s
show_list
told

title "as it stands now"
type_and_run move status

# --- and back ---------------------------------------------------------------------------------------------------------------------

title "and back"
type_and_run move out --pid "$orders"
show_list
told
runs

failed=$(($(failures) - began))
title "the provider was never restarted; $(calls) calls, $failed failed"
[ "$failed" -eq 0 ]
