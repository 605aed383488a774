import { append } from '../../../base/lists/index.ts';
import { parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import type { Fields } from '../../spec/fields.ts';
import type { CniDns, CniRoute } from '../../spec/result.ts';

/**
 * Reads `routes` of an address plugin's configuration in CNI 1.1 form. A route without a gateway leads
 * through the pod's own.
 */
export function readRoutes(ipam: Fields): CniRoute[] {
  return ipam.objects('routes').flatMap((entry) => {
    const dst = entry.text('dst');
    const destination = dst === undefined ? undefined : parsePrefix(dst);
    if (dst === undefined || destination === undefined) {
      if (dst === undefined) entry.problem('', "'dst' is missing");
      else entry.problem('dst', `${JSON.stringify(dst)} is not a prefix such as 0.0.0.0/0`);
      return [];
    }
    const gw = entry.text('gw') ?? '';
    if (gw !== '' && parseIp(gw)?.family !== destination.address.family) {
      entry.problem('gw', `${JSON.stringify(gw)} is not an address of the family of dst`);
      return [];
    }
    const numbers = Object.fromEntries(
      (['mtu', 'advmss', 'priority', 'table', 'scope'] as const).flatMap((name) => {
        const value = entry.whole(name);
        if (value === undefined) return [];
        if (value < 0 || value > (name === 'scope' ? 255 : 0xffffffff)) {
          entry.problem(name, `${value} is out of range`);
          return [];
        }
        // 0 is "not set" in every version of the upstream plugins, except for the scope, where it means
        // global.
        return value === 0 && name !== 'scope' ? [] : [[name, value]];
      }),
    ) as Pick<CniRoute, 'mtu' | 'advmss' | 'priority' | 'table' | 'scope'>;
    return [{ dst, ...(gw === '' ? {} : { gw }), ...numbers }];
  });
}

/** Parses resolv.conf(5) as the upstream plugins do. */
export function parseResolvConf(text: string): CniDns {
  const nameservers: string[] = [];
  const options: string[] = [];
  let search: string[] = [];
  let domain: string | undefined;
  for (const line of text.split('\n')) {
    const [keyword = '', ...values] = line.trim().split(/\s+/u);
    if (keyword.startsWith('#') || keyword.startsWith(';') || values.length === 0) continue;
    if (keyword === 'nameserver') nameservers.push(values[0] ?? '');
    else if (keyword === 'domain') domain = values[0];
    else if (keyword === 'search') search = [...search, ...values];
    else if (keyword === 'options') append(options, values);
  }
  return {
    ...(nameservers.length === 0 ? {} : { nameservers }),
    ...(domain === undefined ? {} : { domain }),
    ...(search.length === 0 ? {} : { search }),
    ...(options.length === 0 ? {} : { options }),
  };
}
