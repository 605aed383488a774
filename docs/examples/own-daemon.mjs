// The runtime inside a program of your own, with a configuration of its own, until SIGTERM:
//   node own-daemon.mjs config.yaml
import { loadDaemonConfig, startDaemon } from 'portcullis/runtime';

const config = await loadDaemonConfig({ file: process.argv[2], withoutThreads: true });
// First of all: on hybrid cgroups the process moves into a mount namespace of its own (see the text).
const daemon = await startDaemon(config);
console.log(`serving on ${config.socket}`);
await new Promise((resolve) => process.once('SIGTERM', resolve));
await daemon.stop();
