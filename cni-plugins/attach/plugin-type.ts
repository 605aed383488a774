/** The binaries are installed as `portcullis-NAME`; a conflist of our own runtime may leave the prefix out. */
export const bareType = (type: string): string => type.replace(/^portcullis-/u, '');
