import type { Adjustment } from '../../containers/adjusted.ts';
import type { LinuxDevice, Mount, POSIXRlimit } from '../protocol/contract.types.ts';
import type { KindedHook } from './change.ts';
import type { OwnedChange, OwnedRemoval } from './merge.ts';

const longestValue = 200;

/** Returns an entry for the record of a container. Pure. Values of variables and arguments are omitted. */
export function describeChange(change: OwnedChange | OwnedRemoval): Adjustment {
  const { plugin, field, key } = change;
  const shared = { plugin, field, key: key.slice(0, 1024) };
  if (!('value' in change)) return { ...shared, action: 'remove' };
  const value = valueText(change);
  return { ...shared, action: 'set', ...(value !== undefined && { value: value.slice(0, longestValue) }) };
}

function valueText({ field, value }: OwnedChange): string | undefined {
  switch (field) {
    case 'env':
    case 'args':
    case 'annotation':
    case 'cdi-device':
    case 'seccomp-policy':
      return undefined;
    case 'mount': {
      const { source, options } = value as Mount;
      return `${source} (${options.join(',')})`;
    }
    case 'device': {
      const { type, major, minor } = value as LinuxDevice;
      return `${type} ${major}:${minor}`;
    }
    case 'rlimit': {
      const { soft, hard } = value as POSIXRlimit;
      return `${soft}/${hard}`;
    }
    case 'hook':
      return (value as KindedHook).kind;
    default:
      return typeof value === 'string' ? value : JSON.stringify(value);
  }
}
