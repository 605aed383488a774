/**
 * Of a container's log: readable by the group root, as under containerd, so that a log collector needs no capability. conmon makes files of 0600,
 * and keeps the mode of a file that it finds.
 */
export const logMode = 0o640;
