import { parseJson } from '../../base/json/index.ts';
import { PortcullisError, reasonOf, orThrow } from '../../base/errors/index.ts';
import { readGivenFile } from '../../base/files/index.ts';
import { largest } from '../../base/lists/index.ts';
import { recordOf } from '../json/strict-json.ts';
import type { WitnessUrls } from './signer.ts';
import { readRfc3339 } from '../json/rfc3339.ts';

/** The services that a signing configuration names for a given time. */
export interface SigningServices {
  readonly fulcioUrl?: string;
  readonly witnesses: WitnessUrls;
}

interface Service {
  readonly url: string;
  readonly majorApiVersion: number;
  readonly operator: string;
  readonly start: number;
}

const maximumBytes = 1024 * 1024;

/** Reads a file with {@link parseSigningConfig}. @throws PortcullisError `TRUST_SIGNING_CONFIG` */
export async function readSigningConfig(file: string, now: Date): Promise<SigningServices> {
  const bytes: Buffer = await orThrow(
    () => readGivenFile(file, maximumBytes),
    (error) => failed(file, reasonOf(error)),
  );
  return parseSigningConfig(bytes, file, now);
}

function failed(on: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_SIGNING_CONFIG',
    kind: 'invalid',
    attempted: 'read signing configuration',
    on,
    why,
    fix: 'name a signing_config.json of version 0.2, as "cosign signing-config create" writes it',
  });
}

/**
 * Reads a `signing_config.json` (sigstore/protobuf-specs SigningConfig, version 0.2). A service counts if it
 * is valid now and no valid service of its kind has a higher supported API version. It returns the newest
 * one, or as many as the selector requires.
 * @param on the name of the bytes, for errors
 * @throws PortcullisError `TRUST_SIGNING_CONFIG`
 */
export function parseSigningConfig(bytes: Uint8Array, on: string, now: Date): SigningServices {
  const fail = (why: string): PortcullisError => failed(on, why);
  const config: Readonly<Record<string, unknown>> = orThrow(
    () => recordOf(parseJson(Buffer.from(bytes).toString('utf8'))) ?? {},
    (error) => fail(reasonOf(error)),
  );
  if (config['mediaType'] !== 'application/vnd.dev.sigstore.signingconfig.v0.2+json')
    throw fail('its mediaType is not application/vnd.dev.sigstore.signingconfig.v0.2+json');
  const services = (name: string, versions: readonly number[]): readonly Service[] => {
    const usable = servicesOf(config[name], now, (why) => fail(`${name}: ${why}`)).filter(
      ({ majorApiVersion }) => versions.includes(majorApiVersion),
    );
    const highest = largest(usable.map(({ majorApiVersion }) => majorApiVersion));
    return usable.filter(({ majorApiVersion }) => majorApiVersion === highest);
  };
  const selected = (list: string, rule: string, versions: readonly number[]): readonly Service[] =>
    select(services(list, versions), ruleFor(config[list], recordOf(config[rule])), (why) =>
      fail(`${list}: ${why}`),
    );
  const [ca] = services('caUrls', [1]);
  return {
    ...(ca === undefined ? {} : { fulcioUrl: ca.url }),
    witnesses: {
      logs: selected('rekorTlogUrls', 'rekorTlogConfig', [1, 2]).map(({ url, majorApiVersion }) => ({
        url,
        version: majorApiVersion === 2 ? 2 : 1,
      })),
      timestamps: selected('tsaUrls', 'tsaConfig', [1]).map(({ url }) => url),
    },
  };
}

function servicesOf(value: unknown, now: Date, fail: (why: string) => PortcullisError): readonly Service[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw fail('it is not a list');
  return value
    .map((entry: unknown) => {
      const { url, majorApiVersion, operator, validFor } = recordOf(entry) ?? {};
      const parsed = typeof url === 'string' ? URL.parse(url) : null;
      if (
        parsed === null ||
        !['https:', 'http:'].includes(parsed.protocol) ||
        parsed.username !== '' ||
        parsed.password !== ''
      )
        throw fail('an entry has no usable url');
      if (typeof majorApiVersion !== 'number') throw fail('an entry has no majorApiVersion');
      const { start, end } = recordOf(validFor) ?? {};
      const time = (text: unknown, absent: number): number =>
        text === undefined || text === null ? absent : (readRfc3339(text) ?? NaN);
      return {
        url: parsed.href.replace(/\/+$/, ''),
        majorApiVersion,
        operator: typeof operator === 'string' ? operator : '',
        start: time(start, -Infinity),
        end: time(end, Infinity),
      };
    })
    .filter(({ start, end }) => start <= now.getTime() && now.getTime() <= end)
    .sort((a, b) => (a.start === b.start ? 0 : b.start - a.start));
}

/**
 * Returns the rule for a list of services. cosign also writes a rule when it writes no service (`tsaConfig:
 * {}`, ANY). A rule that requires one of no services is ignored.
 */
function ruleFor(
  list: unknown,
  rule: Readonly<Record<string, unknown>> | undefined,
): Readonly<Record<string, unknown>> | undefined {
  const isEmpty = list === undefined || (Array.isArray(list) && list.length === 0);
  return isEmpty && rule?.['selector'] !== 'EXACT' ? undefined : rule;
}

/**
 * Selects services. ANY: the newest. EXACT: this many, of different operators. ALL: the newest of every
 * operator. Without a rule, none is required.
 */
function select(
  services: readonly Service[],
  rule: Readonly<Record<string, unknown>> | undefined,
  fail: (why: string) => PortcullisError,
): readonly Service[] {
  if (rule === undefined || services.length === 0) {
    if (rule !== undefined) throw fail('a service is required, and none is valid now');
    return services.slice(0, 1);
  }
  const byOperator = [
    ...new Map([...services].reverse().map((service) => [service.operator, service])).values(),
  ].reverse();
  switch (rule['selector']) {
    case 'ANY':
      return services.slice(0, 1);
    case 'ALL':
      // A service that names no operator has an operator of its own.
      return services.filter(({ operator }, at) => {
        const first = services.findIndex((other) => other.operator === operator);
        return operator === '' || first === at;
      });
    case 'EXACT': {
      const { count } = rule;
      if (typeof count !== 'number' || count < 1 || byOperator.length < count)
        throw fail(
          `${String(count)} services of different operators are required, and ${byOperator.length} are valid now`,
        );
      return byOperator.slice(0, count);
    }
    default:
      throw fail(`the selector ${JSON.stringify(rule['selector'])} is not supported`);
  }
}
