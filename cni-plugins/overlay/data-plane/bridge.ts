/** The bridge that this host's pods are attached to. */
export const bridgeName = 'portcullis-ov';
