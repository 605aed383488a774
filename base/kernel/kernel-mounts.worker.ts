import { bindMount, checkIdmap, mount, setPropagation, umount } from './mount.ts';
import { mountOverlay } from './overlay.ts';
import { spawnProcess } from './spawn.ts';
import { serveCalls } from './worker-calls.ts';

const calls = { mount, umount, bindMount, checkIdmap, setPropagation, mountOverlay, spawnProcess };
export type MountCalls = typeof calls;
serveCalls(calls);
