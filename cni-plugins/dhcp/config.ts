import type { Fields } from '../spec/fields.ts';
import { optionCodes as codes } from './option-codes.ts';

/** The fields of the address plugin `dhcp`, with the names of the upstream program. Pure. */
export interface DhcpConfig {
  /** Numbers of the options that the client asks for. */
  readonly requested: readonly number[];
  readonly provided: readonly ProvidedOption[];
  /** Metric of the routes. */
  readonly priority?: number;
}

interface ProvidedOption {
  readonly code: number;
  readonly value?: string;
  /** Name of an argument of CNI_ARGS. It takes precedence over `value`. */
  readonly fromArg?: string;
}

/** Names of the upstream program. */
const optionNames: Readonly<Record<string, number>> = {
  'dhcp-client-identifier': codes.clientId,
  'subnet-mask': codes.subnetMask,
  routers: codes.routers,
  'host-name': codes.hostName,
  'user-class': codes.userClass,
  'vendor-class-identifier': codes.vendorClass,
};

const defaultRequests: readonly number[] = [
  codes.subnetMask,
  codes.routers,
  codes.classlessRoutes,
  codes.nameServers,
  codes.domainName,
  codes.searchList,
];

/** Options that the protocol itself sets. */
const ownOptions: ReadonlySet<number> = new Set([
  ...[codes.pad, codes.end, codes.requestedAddress, codes.leaseTime, codes.overload],
  ...[codes.messageType, codes.server, codes.requestedOptions, codes.maximumSize],
]);

const longestValue = 255;
const mostOptions = 64;
const highestPriority = 0xffffffff;

export function readDhcpConfig(ipam: Fields): DhcpConfig {
  if (ipam.has('daemonSocketPath'))
    ipam.unsupported(
      'daemonSocketPath',
      'the DHCP client is in the daemon of Portcullis, and needs no other one',
    );
  const requests = ipam.objects('request').map((entry) => ({
    skipsDefault: entry.flag('skipDefault', false),
    code: readCode(entry, true),
  }));
  const provided = ipam.objects('provide').flatMap((entry): ProvidedOption[] => {
    const code = readCode(entry, false);
    const [value = '', fromArg = ''] = [entry.text('value'), entry.text('fromArg')];
    if (value === '' && fromArg === '') entry.problem('', "one of 'value' and 'fromArg' is needed");
    if (Buffer.byteLength(value) > longestValue)
      entry.problem('value', `it is longer than ${longestValue} bytes`);
    if (code !== undefined && ownOptions.has(code))
      entry.problem('option', `the protocol itself sets the option ${code}`);
    if (code === undefined) return [];
    return [{ code, ...(value !== '' && { value }), ...(fromArg !== '' && { fromArg }) }];
  });
  for (const [name, list] of [
    ['request', requests],
    ['provide', provided],
  ] as const)
    if (list.length > mostOptions) ipam.problem(name, `it has more than ${mostOptions} options`);
  const priority = ipam.whole('priority') ?? 0;
  if (priority < 0 || priority > highestPriority) ipam.problem('priority', `${priority} is out of range`);
  const asked = requests.flatMap(({ code }) => (code === undefined ? [] : [code]));
  const defaults = requests.some(({ skipsDefault }) => skipsDefault) ? [] : defaultRequests;
  return {
    requested: [...new Set([...defaults, ...asked])],
    provided,
    ...(priority !== 0 && { priority }),
  };
}

/** Reads `option`: a name, or a number as text. @param mayLack whether an entry may have none */
function readCode(entry: Fields, mayLack: boolean): number | undefined {
  const text = entry.text('option') ?? '';
  if (text === '') {
    if (!mayLack || !entry.has('skipDefault')) entry.problem('option', "'option' is missing");
    return undefined;
  }
  const code = optionNames[text] ?? (/^\d{1,3}$/u.test(text) ? Number(text) : 255);
  if (code >= 1 && code <= 254) return code;
  entry.problem(
    'option',
    `${JSON.stringify(text)} is neither a number from 1 to 254 nor one of ${Object.keys(optionNames).join(', ')}`,
  );
  return undefined;
}

/** Returns the further options of an attachment. @param args CNI_ARGS */
export function providedOptions(
  { provided }: DhcpConfig,
  args: Readonly<Record<string, string>>,
): Map<number, Buffer> {
  return new Map(
    provided.flatMap(({ code, value, fromArg }) => {
      const given = (fromArg === undefined ? undefined : args[fromArg]) ?? value;
      if (given === undefined || given === '') return [];
      return [[code, Buffer.from(given).subarray(0, longestValue)] as const];
    }),
  );
}
