/** The version of the product, equal to the version in package.json; a test compares the two. */
export const runtimeVersion = '0.1.0';
