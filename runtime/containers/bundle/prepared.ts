import { uncountedHugepages } from '../../cgroups/check-resources.ts';
import type { ResourceSupport } from '../../cgroups/resource-support.ts';
import type { Prepared } from '../container-effects.ts';
import { heldSettings } from '../enforced-settings.ts';
import { pastItsLink } from '../link-class.ts';
import { namedByAnnotation } from '../confinement/profile-name.ts';
import type { ContainerUser } from './user.ts';
import type { CheckedRequest } from './request.ts';

/** Returns the fields of the record that result from the confinement and the image. Pure. */
export function preparedFields(
  { record, sandbox, admitted, stopSignal, confined }: CheckedRequest,
  { uid, gid, additionalGids }: ContainerUser,
  {
    hasUserNamespace,
    resourceSupport,
  }: { readonly hasUserNamespace: boolean; readonly resourceSupport: ResourceSupport },
): Prepared {
  const { settings, labels } = confined;
  const { config } = record;
  const asks = config.linux?.resources;
  const past = pastItsLink(settings, hasUserNamespace);
  const uncounted = asks === undefined ? [] : uncountedHugepages(asks, resourceSupport);
  const degraded = [...settings.degraded, ...(past === undefined ? [] : [past]), ...uncounted];
  const profile = namedByAnnotation(sandbox.config.annotations, config.metadata?.name ?? '')?.name;
  return {
    settingsDigest: settings.digest,
    networkClass: settings.networkClass,
    ...(settings.peers !== undefined && { peers: settings.peers }),
    noNewPrivileges: settings.noNewPrivileges,
    labels,
    degraded,
    held: heldSettings({ ...settings, degraded }, admitted.verdict, profile),
    user: { uid, gid, additionalGids },
    stopSignal,
  };
}
