/**
 * The steps of an upgrade, in their order, in one table. Up to `commit` the old process has everything and goes on with it whatever happens to
 * the new one; from `commit` on the new one has everything, and the old one only passes on what is still answered to it.
 */
export const upgradeSteps = {
  start: "the new process has loaded its code and its configuration, and has answered itself over loopback",
  greet: "both have said which version they are and what they can hand over",
  listen: "the new process has the listening ports",
  suspend: "the old process has laid down its doors, its registry session and its state directory",
  "take-up": "the new process has the state directory, the registry session, the doors, and every route of the old one",
  share: "both processes have every connection; the old one goes on with them",
  freeze: "every connection that can go stands still, and the new process knows what was read of it",
  commit: "the new process goes on with them",
  relay: "the old process passes on the replies that still come to it, and the connections that could not go before",
  end: "the old process has nothing left, and ends",
} as const;

export type UpgradeStep = keyof typeof upgradeSteps;

export const upgradeStepNames = Object.keys(upgradeSteps) as readonly UpgradeStep[];
