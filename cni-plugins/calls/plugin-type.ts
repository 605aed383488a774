/**
 * Removes the prefix: the binaries are installed as `portcullis-NAME`; a conflist of our own runtime may omit
 * it.
 */
export const bareType = (type: string): string => type.replace(/^portcullis-/u, '');
