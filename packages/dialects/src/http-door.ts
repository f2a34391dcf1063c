/** A door that speaks HTTP: its host hands it whole requests (`base/http`), so that it needs neither socket nor HTTP library. */
import type { HttpService } from "@dualmesh/base/http/service";
import type { DoorSession } from "./door.ts";

export interface HttpDoor extends AsyncDisposable {
  readonly dialect: string;
  readonly handle: HttpService;
  /** What `dualmesh status` shows. */
  sessions(): readonly DoorSession[];
}
