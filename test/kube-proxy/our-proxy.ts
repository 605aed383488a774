/** The services of a node, as the daemon runs them. Its only argument is {@link OurSettings} as JSON. */
import { createLogger } from '../../base/log/index.ts';
import { startServices } from '../../cni-plugins/services/control/services.ts';
import type { ServicesSettings } from '../../cni-plugins/services/control/protocol.ts';

export type OurSettings = ServicesSettings;

await startServices(JSON.parse(process.argv[2] ?? '') as OurSettings, createLogger({ level: 'info' }));
// The thread of services keeps no process alive.
setInterval(() => undefined, 1_000_000);
