import { changeableByOthers } from '../../../runtime/index.ts';
import type { DaemonConfig } from '../../../runtime/index.ts';
import type { Finding } from '../finding.ts';

/** Reports paths of the policy that a user other than root can change, where the node uses files. */
export async function changeablePolicy({
  policy,
  policySubscription,
  cluster,
}: DaemonConfig): Promise<Finding[]> {
  if (policySubscription !== undefined || cluster?.policies === true) return [];
  return (await changeableByOthers(policy)).map(({ path, writers }) => ({
    topic: 'policy files',
    state: 'degraded',
    found: path,
    meaning: [`${writers}: a user other than root can decide what may run`],
    fix: `chown root:root ${path}; chmod go-w ${path}`,
  }));
}

/** Reports a configuration that a user other than root can change: it names programs that run as root. */
export async function changeableConfiguration(file: string): Promise<readonly Finding[]> {
  return (await changeableByOthers([file])).map(({ path, writers }) => ({
    topic: 'configuration',
    state: 'degraded',
    found: path,
    meaning: [`${writers}: a user other than root can decide which programs run as root`],
    fix: `chown root:root ${path}; chmod go-w ${path}`,
  }));
}
