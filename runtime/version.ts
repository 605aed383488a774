/** Of the product; the same as in package.json, which a test compares. */
export const runtimeVersion = '0.1.0';
