import { setTimeout as sleep } from 'node:timers/promises';
import { fieldsOf, listOf, statusOf, textOf } from '../../base/kubernetes/index.ts';
import type { ApiClient, ObjectFields } from '../../base/kubernetes/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { tlsCertificates } from '../../base/pem/index.ts';

const kinds = ['validatingwebhookconfigurations', 'mutatingwebhookconfigurations'] as const;
const mostConflicts = 10;

interface Configurations {
  readonly client: Pick<ApiClient, 'get' | 'send'>;
  readonly configuration: string;
  readonly log: Logger;
}

const pathOf = (kind: (typeof kinds)[number], configuration: string): string =>
  `/apis/admissionregistration.k8s.io/v1/${kind}/${configuration}`;
const bundleOf = (webhook: ObjectFields): string => textOf(fieldsOf(webhook['clientConfig'])['caBundle']);

/**
 * Returns the authorities that the configurations contain now, each once. A bundle that cannot be read has
 * none.
 * @returns PEM
 * @throws PortcullisError KUBERNETES_API_…
 */
export async function configuredAuthorities(
  { client, configuration }: Omit<Configurations, 'log'>,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const found = new Set<string>();
  for (const kind of kinds)
    try {
      const object = fieldsOf(await client.get(pathOf(kind, configuration), {}, signal));
      for (const bundle of new Set(listOf(object['webhooks']).map(fieldsOf).map(bundleOf)))
        for (const authority of authoritiesIn(bundle)) found.add(authority);
    } catch (error) {
      if (statusOf(error) !== 404) throw error;
    }
  return [...found];
}

function authoritiesIn(bundle: string): readonly string[] {
  try {
    return tlsCertificates(Buffer.from(bundle, 'base64').toString('utf8'));
  } catch {
    return [];
  }
}

/**
 * Adds authorities to the webhook configurations that do not contain them yet. A configuration that does not
 * exist is skipped: an operator may use only one of the two.
 * @param bundle PEM
 * @returns whether a configuration was changed
 * @throws PortcullisError KUBERNETES_API_…
 */
export async function reportConfigurations(
  { client, configuration, log }: Configurations,
  bundle: string,
  signal: AbortSignal,
): Promise<boolean> {
  let changed = false;
  const caBundle = Buffer.from(bundle).toString('base64');
  for (const kind of kinds)
    for (let conflicts = 0; ; conflicts += 1)
      try {
        const path = pathOf(kind, configuration);
        const object = fieldsOf(await client.get(path, {}, signal));
        const webhooks = listOf(object['webhooks']).map(fieldsOf);
        const version = textOf(fieldsOf(object['metadata'])['resourceVersion']);
        const missing = webhooks.flatMap((webhook, index) => (bundleOf(webhook) === caBundle ? [] : [index]));
        if (missing.length === 0) break;
        await client.send(
          {
            method: 'PATCH',
            path,
            contentType: 'application/json-patch+json',
            body: [
              { op: 'test', path: '/metadata/resourceVersion', value: version },
              ...missing.map((index) => ({
                op: 'add',
                path: `/webhooks/${index}/clientConfig/caBundle`,
                value: caBundle,
              })),
            ],
          },
          signal,
        );
        changed = true;
        log.info(
          { kind, configuration },
          'the authority of the webhook was added to the webhook configuration',
        );
        break;
      } catch (error) {
        const status = statusOf(error);
        if (status === 404) break;
        // A failed test of a JSON Patch is 422, and a concurrent write 409.
        if ((status !== 409 && status !== 422) || conflicts === mostConflicts) throw error;
        await sleep(50 + Math.random() * 200, undefined, { signal });
      }
  return changed;
}
