import type { SecurityContextRequest } from '../ceiling/asked.ts';
import type { Remark } from './imported.ts';
import { bad, fieldsOf } from './kubernetes-fields.ts';
import type { Fields } from './kubernetes-fields.ts';

/** The annotation before Kubernetes 1.30, which an API server still reads (KEP-24), without the container. */
const ANNOTATION = 'container.apparmor.security.beta.kubernetes.io/';
const LOCALHOST = 'localhost/';

/** The AppArmor profile that a pod requests for a container, and the position of the request. */
interface RequestedAppArmor {
  readonly profile: Fields;
  readonly part: string;
}

/**
 * Returns the AppArmor profile that applies to a container: its own field, else the annotation with its name,
 * else the field of the pod, as an API server applies them (KEP-24, "Pod Creation").
 * @throws ENTITLEMENTS_BAD_PROFILE for an annotation with another value than Kubernetes has
 */
export function appArmorOf(
  own: Fields,
  ofPod: Fields,
  annotations: Fields,
  { name, path, specPath }: { readonly name: string; readonly path: string; readonly specPath: string },
): RequestedAppArmor {
  const field = (context: Fields, of: string): RequestedAppArmor => ({
    profile: fieldsOf(context['appArmorProfile']),
    part: `${of}.securityContext.appArmorProfile`,
  });
  if ((own['appArmorProfile'] ?? undefined) !== undefined) return field(own, path);
  const annotated = annotations[`${ANNOTATION}${name}`];
  if (annotated === undefined) return field(ofPod, specPath);
  const part = `metadata.annotations.${ANNOTATION}${name}`;
  return { profile: annotatedProfile(annotated, part), part };
}

function annotatedProfile(value: unknown, part: string): Fields {
  if (value === 'runtime/default') return { type: 'RuntimeDefault' };
  if (value === 'unconfined') return { type: 'Unconfined' };
  if (typeof value === 'string' && value.startsWith(LOCALHOST) && value.length > LOCALHOST.length)
    return { type: 'Localhost', localhostProfile: value.slice(LOCALHOST.length) };
  throw bad(part, `${JSON.stringify(value)} is not runtime/default, localhost/PROFILE or unconfined`);
}

/**
 * Returns the request for an AppArmor profile. The text of a Localhost profile is only on the node: the
 * default profile replaces it, and a remark says so.
 * @throws ENTITLEMENTS_BAD_PROFILE for an unknown type
 */
export function readAppArmor(
  { profile, part }: RequestedAppArmor,
  unmapped: Remark[],
): Pick<SecurityContextRequest, 'apparmor'> {
  const type = profile['type'];
  if (type === undefined) return {};
  if (type === 'RuntimeDefault' || type === 'Unconfined') return { apparmor: type };
  if (type !== 'Localhost')
    throw bad(`${part}.type`, `${JSON.stringify(type)} is not RuntimeDefault, Localhost or Unconfined`);
  const localhost = profile['localhostProfile'];
  unmapped.push({
    part: `${part}.localhostProfile`,
    why: `the profile${typeof localhost === 'string' ? ` ${localhost}` : ''} of the node is not available; the default profile is used instead, which may grant more`,
  });
  return { apparmor: 'RuntimeDefault' };
}
