import type { ListedElement, ListedRule, Table } from '../../../base/netlink/index.ts';
import type { HostKernel } from '../../links/host-kernel.ts';

type Lists = Pick<HostKernel, 'listedElements' | 'listedRules'>;

/** Returns the same lists, each read once. For one question: the kernel may have other rules later. */
export function listedOnce({ listedElements, listedRules }: Lists): Lists {
  const rules = new Map<string, readonly ListedRule[]>();
  const elements = new Map<string, readonly ListedElement[]>();
  const once = <Value>(known: Map<string, Value>, key: string, list: () => Value): Value => {
    const value = known.get(key) ?? list();
    known.set(key, value);
    return value;
  };
  const keyOf = ({ family, name }: Table): string => `${family} ${name}`;
  return {
    listedRules: (table, chain) => once(rules, `${keyOf(table)} ${chain}`, () => listedRules(table, chain)),
    listedElements: (table, set) =>
      once(elements, `${keyOf(table)} ${set}`, () => listedElements(table, set)),
  };
}
