import ipaddr from 'ipaddr.js';
import { classOfHost } from './address.ts';
import { httpError } from './failure.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Decides which proxy is used for a URL. */
export interface ProxyRules {
  /**
   * undefined: no proxy. The URL may contain the proxy's user and password, so it is never shown. @throws
   * HTTP_BAD_PROXY
   */
  proxyFor(url: URL): URL | undefined;
}

/**
 * Reads HTTPS_PROXY, HTTP_PROXY and NO_PROXY like Go's net/http, and therefore like Kubernetes' programs:
 * upper case before lower case, HTTP_PROXY for plain HTTP only, loopback never through a proxy.
 */
export function proxyRulesOf(environment: Environment): ProxyRules {
  const first = (name: string): string => environment[name] ?? environment[name.toLowerCase()] ?? '';
  const proxies: Readonly<Record<string, string>> = {
    'https:': first('HTTPS_PROXY'),
    'http:': first('HTTP_PROXY'),
  };
  const exempt = first('NO_PROXY')
    .split(/[,\s]+/u)
    .filter((entry) => entry !== '')
    .map(readExemption);

  return {
    proxyFor(url) {
      const text = proxies[url.protocol]?.trim() ?? '';
      if (text === '' || ['loopback', 'unspecified'].includes(classOfHost(url.hostname))) return undefined;
      if (exempt.some((holds) => holds(url))) return undefined;
      const proxy = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//iu.test(text) ? text : `http://${text}`);
      if (
        proxy === null ||
        (proxy.protocol !== 'http:' && proxy.protocol !== 'https:') ||
        proxy.hostname === ''
      ) {
        const variable = url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
        // The value itself may contain a password.
        throw httpError(
          'HTTP_BAD_PROXY',
          url,
          `${variable} is not an address such as http://proxy.example.com:3128`,
        );
      }
      return proxy;
    },
  };
}

/**
 * Reads one entry: `*`, an address, a network, or a name. `name` matches the name and everything below it;
 * `.name` and `*.name` match only what is below it. An address and a name may have a port.
 */
function readExemption(entry: string): (url: URL) => boolean {
  const network = readNetwork(entry);
  if (network !== undefined) return (url) => inNetwork(url, network);
  const [, host = entry, port] = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/u.exec(entry) ?? [];
  const isPort = (url: URL): boolean => port === undefined || port === portOf(url);
  if (host === '*') return isPort;
  const address = readAddress(host.replace(/^\[|\]$/gu, ''));
  if (address !== undefined) {
    const bits = address.kind() === 'ipv4' ? 32 : 128;
    return (url) => isPort(url) && inNetwork(url, [address, bits]);
  }
  const name = host
    .replace(/^\*(?=\.)/u, '')
    .replace(/\.+$/u, '')
    .toLowerCase();
  if (name === '') return () => false;
  const suffix = name.startsWith('.') ? name : `.${name}`;
  return (url) => {
    const asked = url.hostname.replace(/\.+$/u, '').toLowerCase();
    return isPort(url) && (asked === name || asked.endsWith(suffix));
  };
}

const portOf = ({ port, protocol }: URL): string =>
  port !== '' ? port : protocol === 'https:' ? '443' : '80';

type Network = readonly [ipaddr.IPv4 | ipaddr.IPv6, number];

function readNetwork(text: string): Network | undefined {
  return ipaddr.isValidCIDR(text) ? ipaddr.parseCIDR(text) : undefined;
}

/**
 * Reads an IPv4 address in its common spelling, or an IPv6 address. An IPv4-mapped IPv6 address becomes the
 * IPv4 address.
 */
function readAddress(text: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  return ipaddr.IPv4.isValidFourPartDecimal(text) || ipaddr.IPv6.isValid(text)
    ? ipaddr.process(text)
    : undefined;
}

function inNetwork(url: URL, [address, bits]: Network): boolean {
  const asked = readAddress(url.hostname.replace(/^\[|\]$/gu, ''));
  return asked !== undefined && asked.kind() === address.kind() && asked.match(address, bits);
}
