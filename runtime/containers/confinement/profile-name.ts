const profileAnnotation = 'portcullis.dev/profile';

/**
 * Returns the profile that the annotations of a pod name for a container, and the key; undefined: none. Pure
 * (design: policy and profile).
 */
export function namedByAnnotation(
  annotations: Readonly<Record<string, string>>,
  container: string,
): { readonly key: string; readonly name: string } | undefined {
  const own = `${profileAnnotation}.${container}`;
  const key = Object.hasOwn(annotations, own) ? own : profileAnnotation;
  const name = Object.hasOwn(annotations, key) ? annotations[key] : undefined;
  return name === undefined ? undefined : { key, name };
}
