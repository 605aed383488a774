import { appendFileSync, writeFileSync } from 'node:fs';
import { followContainerLog } from './log-file.ts';
import { entryBytes } from './log-line.ts';

// Run in a separate user namespace: the limit applies only there. Prints what is read of a log.
writeFileSync('/proc/sys/user/max_inotify_instances', '0');
const [path = ''] = process.argv.slice(2);
let running = true;
for await (const entry of followContainerLog(path, {
  follow: true,
  isRunning: () => Promise.resolve(running),
})) {
  process.stdout.write(entryBytes(entry));
  if (running) appendFileSync(path, '2026-11-20T08:00:00.000000000Z stdout F two\n');
  running = false;
}
