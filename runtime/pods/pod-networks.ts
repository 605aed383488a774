import { isIP } from 'node:net';
import { parseJson } from '../../base/json/index.ts';
import { PortcullisError, reasonOf, orThrow } from '../../base/errors/index.ts';
import type { FurtherNetwork } from '../../cni-plugins/index.ts';

/**
 * The annotation of the Kubernetes Network Custom Resource Definition De-facto Standard (Network Plumbing
 * Working Group), section 4.1.
 */
const annotation = 'k8s.v1.cni.cncf.io/networks';

/** The supported fields of an element; every other field is refused, never ignored. */
const known: readonly string[] = ['name', 'namespace', 'interface', 'ips', 'mac'];
const networkName = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/u;

/**
 * Returns the networks that a pod requests in addition to the default networks: `a,b@eth5`, or a JSON list of
 * objects. A network is a file of this node and has no namespace: an entry with a namespace must have the
 * pod's. Pure.
 * @throws RUNTIME_BAD_NETWORKS
 */
export function podNetworks(
  annotations: Readonly<Record<string, string>>,
  namespace: string,
): readonly FurtherNetwork[] {
  const text = annotations[annotation]?.trim() ?? '';
  if (text === '') return [];
  const elements = /^[[{"]/u.test(text)
    ? inJson(text)
    : text.split(',').map((each) => shortForm(each.trim()));
  if (elements.length > 32) throw badNetworks('32 networks at most');
  return elements.map((element) => checked(element, namespace));
}

interface Element {
  readonly name: string;
  readonly namespace?: string;
  readonly interface?: string;
  readonly ips?: readonly string[];
  readonly mac?: string;
}

function shortForm(text: string): Element {
  const parts = /^(?:(?<namespace>[^/@]+)\/)?(?<name>[^/@]+)(?:@(?<ifname>[^/@]+))?$/u.exec(text)?.groups;
  if (parts === undefined)
    throw badNetworks(`${JSON.stringify(text)} is not [NAMESPACE/]NETWORK[@INTERFACE]`);
  const { namespace, name = '', ifname } = parts;
  return {
    name,
    ...(namespace !== undefined && { namespace }),
    ...(ifname !== undefined && { interface: ifname }),
  };
}

function inJson(text: string): Element[] {
  const value: unknown = orThrow(
    () => parseJson(text),
    (thrown) => badNetworks(reasonOf(thrown)),
  );
  if (!Array.isArray(value)) throw badNetworks('it is not a list');
  return value.map((each: unknown, index) => {
    if (typeof each !== 'object' || each === null || Array.isArray(each))
      throw badNetworks(`element ${index} is not an object`);
    const fields = each as Record<string, unknown>;
    const other = Object.keys(fields).find((name) => !known.includes(name));
    if (other !== undefined)
      throw badNetworks(
        `element ${index}: ${JSON.stringify(other)} is not supported: ${known.join(', ')} are`,
      );
    const textIn = (name: string): string | undefined => {
      const found = fields[name];
      if (found === undefined || found === '' || typeof found === 'string')
        return found === '' ? undefined : found;
      throw badNetworks(`element ${index}: ${name} must be a string`);
    };
    const ips = fields['ips'] ?? [];
    if (!Array.isArray(ips) || !ips.every((ip) => typeof ip === 'string'))
      throw badNetworks(`element ${index}: ips must be a list of strings`);
    const [namespace, ifname, mac] = [textIn('namespace'), textIn('interface'), textIn('mac')];
    return {
      name: textIn('name') ?? '',
      ...(namespace !== undefined && { namespace }),
      ...(ifname !== undefined && { interface: ifname }),
      ...(mac !== undefined && { mac }),
      ...(ips.length > 0 && { ips }),
    };
  });
}

function checked({ name, namespace, interface: ifname, ips, mac }: Element, own: string): FurtherNetwork {
  if (!networkName.test(name)) throw badNetworks(`${JSON.stringify(name)} is not the name of a network`);
  if (namespace !== undefined && namespace !== own)
    throw badNetworks(
      `${namespace}/${name}: networks belong to this node, and can be requested only in the namespace of the pod`,
    );
  const odd = ips?.find((ip) => !isAddress(ip));
  if (odd !== undefined)
    throw badNetworks(`${JSON.stringify(odd.slice(0, 100))} is not an address, nor one with its prefix`);
  if (mac !== undefined && !macForm.test(mac))
    throw badNetworks(`${JSON.stringify(mac.slice(0, 100))} is not a MAC address`);
  return {
    network: name,
    ...(ifname !== undefined && { interface: ifname }),
    ...(ips !== undefined && { ips }),
    ...(mac !== undefined && { mac }),
  };
}

const macForm = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/iu;

/**
 * With or without a prefix length. If an address cannot be parsed, plugins can neither attach the pod nor
 * remove the half-created attachment.
 */
function isAddress(text: string): boolean {
  const [address = '', length, ...more] = text.split('/');
  const bits = { 0: 0, 4: 32, 6: 128 }[isIP(address)] ?? 0;
  return (
    bits > 0 &&
    more.length === 0 &&
    (length === undefined || (/^\d{1,3}$/u.test(length) && Number(length) <= bits))
  );
}

function badNetworks(why: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_NETWORKS',
    kind: 'invalid',
    attempted: 'read which networks the pod asks for',
    on: annotation,
    why,
    fix: 'give names of networks with commas between, or a JSON list of objects with a name each',
  });
}
