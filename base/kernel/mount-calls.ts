import { openDetachedMount } from './mounts/detached-mount.ts';
import { bindMount, checkIdmap, mount, setPropagation, umount } from './mounts/mount.ts';
import { mountOverlay } from './mounts/overlay.ts';
import { limitsProjects, limitTrees } from './files/project-quota.ts';

export const mountCalls = {
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
export type MountCalls = typeof mountCalls;
