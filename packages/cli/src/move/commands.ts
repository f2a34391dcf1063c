/** `dualmesh move …`: the words of its commands. What they do is loaded when they run. */
import type { Command, Flag, FlagValues, RawCommand } from "../command.ts";

const moves: Flag = {
  name: "moves",
  value: "DIR",
  summary: "where the records of moves are",
  default:
    "$XDG_STATE_HOME/dualmesh/moves when that is set, else /var/lib/dualmesh/moves for root, else ~/.local/state/dualmesh/moves",
};
const json: Flag = { name: "json", summary: "JSON, an object a line" };
const sudo: Flag = { name: "sudo", summary: "get the privileges for rules and cuts by sudo -n" };
const user: Flag = {
  name: "user",
  value: "NAME",
  summary: "as whom everything runs that needs no privileges: a name, or UID:GID",
  default:
    "the owner of the sidecar's state, else dualmesh if there is such a user, else the owner of the moves, else one that nobody is",
};

const named: readonly Flag[] = [
  { name: "pid", value: "N", summary: "the process" },
  { name: "unit", value: "NAME", summary: "the process of a unit of systemd" },
  { name: "cgroup", value: "PATH", summary: "the process in a control group, as in /system.slice/pay.service" },
  { name: "netns", value: "NAME", summary: "the process in a network namespace: a name of ip netns, or its number" },
];

const wishes: readonly Flag[] = [
  { name: "only", value: "SIDE", summary: "provider or consumer: move this side alone" },
  { name: "first", value: "SIDE", summary: "provider or consumer: which side goes first", default: "provider" },
  {
    name: "zookeeper",
    value: "ADDRESSES",
    summary: "the servers of its registry, HOST:PORT,…",
    default: "found by its connections",
  },
  { name: "chroot", value: "PATH", summary: "the root node of its registry", default: "found in the registry" },
  { name: "host", value: "ADDRESS", summary: "where others reach it", default: "what it registers" },
  {
    name: "state",
    value: "DIR",
    summary: "the state directory of the sidecar to use",
    default: "found, or one is started",
  },
];

const watching: readonly Flag[] = [
  {
    name: "before",
    value: "DURATION",
    summary: "how long calls are measured before; 0 to leave it out",
    default: "60s",
  },
  { name: "watch", value: "DURATION", summary: "how long calls are compared after", default: "60s" },
  {
    name: "max-errors",
    value: "RATIO",
    summary: "errors beyond those before that undo the move, as in 1% or 0.01",
    default: "1%",
  },
  {
    name: "max-added-latency",
    value: "MS",
    summary: "milliseconds beyond the median before that undo the move",
    default: "50",
  },
];

async function withoutRights(flags: FlagValues, run: () => Promise<number>): Promise<number> {
  return (await import("./without-rights.ts")).withoutRights(flags, run);
}

const verbs: readonly Command[] = [
  {
    name: "move in",
    summary: "Moves a running process into the mesh, without a restart.",
    flags: [
      ...named,
      ...wishes,
      ...watching,
      user,
      moves,
      sudo,
      { name: "dry-run", summary: "say what would be done, and change nothing" },
      json,
    ],
    example: "dualmesh move in --pid 4711",
    run: (flags) => withoutRights(flags, async () => (await import("./in.ts")).runIn(flags)),
  },
  {
    name: "move out",
    summary: "Moves a process out of the mesh, without a restart.",
    flags: [...named, moves, sudo, json],
    example: "dualmesh move out --pid 4711",
    run: (flags) => withoutRights(flags, async () => (await import("./out.ts")).runOut(flags)),
  },
  {
    name: "move status",
    summary: "Shows the moves of this machine.",
    flags: [moves, json],
    example: "dualmesh move status",
    run: async (flags) => (await import("./status.ts")).runStatus(flags),
  },
  {
    name: "move recover",
    summary: "Completes or takes back what a mover that died has left: of one process, or of all.",
    flags: [...named, moves, sudo, json],
    example: "dualmesh move recover",
    run: (flags) => withoutRights(flags, async () => (await import("./recover.ts")).runRecover(flags)),
  },
  {
    name: "move guard",
    summary: "Started by `move in`: looks after the sidecars of moves, and after movers that died.",
    flags: [
      {
        name: "owner",
        value: "UID:GID",
        summary: "as whom it goes on",
        default: "the owner of the moves, when that is not root",
      },
      moves,
      { name: "supervised", summary: "run under a small parent that starts it again when it dies" },
      {
        name: "stay",
        summary: "go on when there is no move, and wait while another guard is at work: for an init system",
      },
    ],
    example: "dualmesh move guard --moves /var/lib/dualmesh/moves",
    run: async (flags) => (await import("./guard-command.ts")).runGuardCommand(flags),
  },
  {
    name: "move host",
    summary: "Started by the others: keeps the privileges, and does what is asked of it by its standard input.",
    flags: [],
    example: "dualmesh move host",
    run: async () => (await import("@dualmesh/fleet/host/agent")).runHostAgent(),
  },
];

export const moveCommands: readonly (Command | RawCommand)[] = [
  {
    name: "move",
    summary: "Says what moves a running process into the mesh and out of it.",
    async runRaw(words) {
      const { sayOverview } = await import("./overview.ts");
      return sayOverview({ commands: verbs, words, write: (text, to) => void process[to].write(text) });
    },
  },
  ...verbs,
];
