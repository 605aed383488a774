import { X509Certificate } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { fieldsOf, statusOf, textOf } from '../../base/kubernetes/index.ts';
import type { ApiClient, ObjectFields } from '../../base/kubernetes/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { tlsCertificates } from '../../base/pem/index.ts';
import { makeServerCertificate } from '../../trust/x509/index.ts';
import { configuredAuthorities, reportConfigurations } from './authority-bundle.ts';
import { readPair } from './serving-pair.ts';
import type { ServingPair } from './serving-pair.ts';

/** A certificate that the replicas make and renew themselves, and share in a Secret. */
export interface ClusterCertificate {
  readonly pair: ServingPair;
  close(): Promise<void>;
}

export interface ClusterCertificateOptions {
  readonly client: Pick<ApiClient, 'get' | 'send'>;
  readonly namespace: string;
  /** Name of the Secret. It exists already, so that the webhook needs no right to create Secrets. */
  readonly secret: string;
  /** DNS names of the service: `NAME.NAMESPACE.svc` first. */
  readonly names: readonly [string, ...string[]];
  /** Name of the ValidatingWebhookConfiguration and of the MutatingWebhookConfiguration. */
  readonly configuration: string;
  readonly lifetimeMs: number;
  /** Called with each new pair, after the API server knows its authority. */
  readonly onChange: (pair: ServingPair) => void;
  readonly log: Logger;
  /** Should be the clock of the API server, which judges the certificate. Default: that of this machine. */
  readonly now?: () => number;
  readonly timing?: CertificateTiming;
}

/** In ms. */
export interface CertificateTiming {
  /** How often the Secret and the configurations are checked. */
  readonly every: number;
  readonly afterFailure: number;
  /** The delay between the addition of an authority to the configurations and the use of its certificate. */
  readonly settle: number;
}

const usualTiming: CertificateTiming = { every: 30_000, afterFailure: 3_000, settle: 10_000 };

/**
 * Returns the timing for a lifetime in ms: a certificate with a lifetime of minutes, in a test, must be
 * checked more often.
 */
function timingFor(lifetime: number): CertificateTiming {
  const { every, afterFailure, settle } = usualTiming;
  const most = lifetime / 20;
  return {
    every: Math.min(every, most),
    afterFailure: Math.min(afterFailure, most),
    settle: Math.min(settle, most),
  };
}
/** A certificate is renewed when this part of its lifetime is left. */
const renewAt = 1 / 3;
/** Replicas renew at the same time. One write succeeds, and the others read it. */
const mostConflicts = 10;
/** The clocks of the API server and of the replicas may differ. */
const backdateMs = 5 * 60_000;
const mostAuthorities = 4;

interface Held extends ServingPair {
  /** PEM, the authority of this certificate first, then earlier ones. */
  readonly authorities: readonly string[];
}

/**
 * Opens the certificate of the webhook: reads it from the Secret, or creates it, and adds its authority to
 * the configurations before it is used. Renews it when a third of its lifetime is left.
 * @throws PortcullisError ADMISSION_CERTIFICATE · KUBERNETES_API_…; the signal's reason
 */
export async function openClusterCertificate(
  options: ClusterCertificateOptions,
  signal: AbortSignal,
): Promise<ClusterCertificate> {
  const { log, timing = timingFor(options.lifetimeMs) } = options;
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const first = await tend(options, either);
  let serving = first;
  const isOver = (): boolean => either.aborted;
  let reported: string | undefined;
  const report = (problem: string | undefined): void => {
    if (problem === reported) return;
    reported = problem;
    if (problem === undefined) log.info({}, 'the certificate was checked again');
    else
      log.error(
        { problem, until: serving.until.toISOString() },
        'the certificate could not be checked or renewed; the previous certificate stays in use',
      );
  };
  const run = async (): Promise<void> => {
    let wait = timing.every;
    while (!isOver()) {
      await sleep(wait * (0.8 + Math.random() / 5), undefined, { signal: either }).catch(() => undefined);
      if (isOver()) return;
      try {
        const held = await tend(options, either);
        wait = timing.every;
        report(undefined);
        if (held.certificate === serving.certificate) continue;
        // The API server gets the new authority through its own watch, which takes some time.
        await sleep(timing.settle, undefined, { signal: either });
        serving = held;
        options.onChange(held);
        log.info({ until: held.until.toISOString() }, 'the certificate was renewed');
      } catch (error) {
        if (isOver()) return;
        wait = timing.afterFailure;
        report(reasonOf(error));
      }
    }
  };
  const running = run();
  return {
    pair: first,
    async close() {
      stop.abort(new Error('the webhook ends'));
      await running;
    },
  };
}

/** Returns a certificate that does not need renewal, and whose authority is in the configurations. */
async function tend(options: ClusterCertificateOptions, signal: AbortSignal): Promise<Held> {
  for (let attempts = 1; ; attempts += 1) {
    const held = await currentPair(options, signal);
    const changed = await reportConfigurations(options, held.authorities.join(''), signal);
    // Another replica may have renewed the certificate meanwhile: its authority was overwritten.
    if (!changed || attempts > mostConflicts) return held;
    if (held.authorities.join('') === (await authoritiesInSecret(options, signal))) return held;
  }
}

async function authoritiesInSecret(
  options: ClusterCertificateOptions,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { client } = options;
  return heldIn(fieldsOf(await client.get(secretPath(options), {}, signal)), options)?.authorities.join('');
}

const secretPath = ({ namespace, secret }: ClusterCertificateOptions): string =>
  `/api/v1/namespaces/${namespace}/secrets/${secret}`;

async function currentPair(options: ClusterCertificateOptions, signal: AbortSignal): Promise<Held> {
  const { client, namespace, secret, now = Date.now } = options;
  const path = secretPath(options);
  for (let conflicts = 0; ; conflicts += 1) {
    const object = fieldsOf(await client.get(path, {}, signal));
    const found = heldIn(object, options);
    if (found !== undefined && !isDue(found, now())) return found;
    // Somebody may have emptied the Secret, while other replicas still serve its certificate.
    const earlier = found?.authorities ?? (await configuredAuthorities(options, signal));
    const made = await make(earlier, options);
    const base64 = (text: string): string => Buffer.from(text).toString('base64');
    const body = {
      ...object,
      data: {
        ...fieldsOf(object['data']),
        'tls.crt': base64(made.certificate),
        'tls.key': base64(made.key),
        'ca.crt': base64(made.authorities.join('')),
      },
    };
    try {
      // The object contains its resourceVersion: a write of another replica in between causes a conflict.
      await client.send({ method: 'PUT', path, body }, signal);
      return made;
    } catch (error) {
      if (statusOf(error) !== 409) throw error;
      if (conflicts === mostConflicts)
        throw new PortcullisError({
          code: 'ADMISSION_CERTIFICATE',
          kind: 'unavailable',
          attempted: 'store the certificate of the webhook in Secret',
          on: `${namespace}/${secret}`,
          why: `another program changed the Secret ${mostConflicts} times during the attempt`,
          fix: 'find the other program that writes the Secret',
        });
      await sleep(50 + Math.random() * 200, undefined, { signal });
    }
  }
}

/** Returns the certificate of a Secret; undefined if there is none for these names. */
function heldIn(object: ObjectFields, { names, secret }: ClusterCertificateOptions): Held | undefined {
  const data = fieldsOf(object['data']);
  const text = (name: string): string => Buffer.from(textOf(data[name]), 'base64').toString('utf8');
  try {
    const pair = readPair(text('tls.crt'), text('tls.key'), `Secret ${secret}`);
    const leaf = new X509Certificate(pair.certificate);
    const authorities = tlsCertificates(text('ca.crt'));
    const [authority] = authorities;
    if (authority === undefined || !leaf.verify(new X509Certificate(authority).publicKey)) return undefined;
    return names.every((name) => leaf.checkHost(name) !== undefined) ? { ...pair, authorities } : undefined;
  } catch {
    return undefined;
  }
}

/** A replica whose clock is ahead makes a certificate that the API server does not accept yet. */
function isDue({ certificate, until }: Held, now: number): boolean {
  const from = new X509Certificate(certificate).validFromDate.getTime();
  return now < from || now >= until.getTime() - (until.getTime() - from) * renewAt;
}

/**
 * The earlier authorities stay in the bundle: other replicas serve their certificates for a while. Expired
 * ones are not left out, because the clock of this replica may be ahead.
 */
async function make(
  earlier: readonly string[],
  { names, lifetimeMs, now = Date.now }: ClusterCertificateOptions,
): Promise<Held> {
  const [from, until] = [
    new Date(now() - Math.min(backdateMs, lifetimeMs / 10)),
    new Date(now() + lifetimeMs),
  ];
  const { certificate, key, authority } = await makeServerCertificate({ names, from, until });
  return {
    ...readPair(certificate, key, 'the new certificate'),
    authorities: [authority, ...earlier].slice(0, mostAuthorities),
  };
}
