/** The beginning of a PEM or OpenPGP block, as it is and in base64. */
const keyText = /-----BEGIN |^LS0tLS1CRUdJTi/u;

/**
 * Reports whether the name of a file is the text of a key or certificate instead. No message may repeat such
 * a text: it may be secret.
 */
export const isKeyText = (name: string): boolean => keyText.test(name);
