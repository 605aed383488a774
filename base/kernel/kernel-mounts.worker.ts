import { openDetachedMount } from './detached-mount.ts';
import { bindMount, checkIdmap, mount, setPropagation, umount } from './mount.ts';
import { mountOverlay } from './overlay.ts';
import { limitsProjects, limitTrees } from './project-quota.ts';
import { serveCalls } from './worker-calls.ts';

const calls = {
  mount,
  umount,
  bindMount,
  checkIdmap,
  setPropagation,
  mountOverlay,
  openDetachedMount,
  limitsProjects,
  limitTrees,
};
export type MountCalls = typeof calls;
serveCalls(calls);
