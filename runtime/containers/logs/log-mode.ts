/**
 * Mode of a container log: readable by the group root, as in containerd, so that a log collector needs no
 * capability. conmon creates files with mode 0600, and keeps the mode of an existing file.
 */
export const logMode = 0o640;
