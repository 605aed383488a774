/**
 * In a separate mount namespace: mounts and unmounts the folder that is its argument until its standard input
 * ends.
 */
import { MNT_DETACH, bindMount, umount } from '../index.ts';

const folder = process.argv[2] ?? '';
process.stdin.on('end', () => process.exit(0)).resume();
process.stdout.write('begun\n');
const again = (): void => {
  for (let count = 0; count < 200; count += 1) {
    bindMount(folder, folder);
    umount(folder, MNT_DETACH);
  }
  setImmediate(again);
};
again();
