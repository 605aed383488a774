import { globSync, readFileSync } from 'node:fs';
import { landlockVersion } from '../../base/kernel/index.ts';

/** What of this kernel decides how a profile can be enforced. */
export interface KernelFeatures {
  readonly seccomp: boolean;
  readonly apparmor: boolean;
  /** The version of Landlock's interface; absent or 0: none. */
  readonly landlock?: number;
  /** Existing paths for each masked path that has a `*`. */
  readonly expanded: Readonly<Record<string, readonly string[]>>;
}

const THERMAL = '/sys/devices/system/cpu/cpu*/thermal_throttle';

/** Reads the features of the running kernel from /proc and /sys. Cheap; does not change while the machine runs. */
export function detectKernel(): KernelFeatures {
  return {
    seccomp: read('/proc/sys/kernel/seccomp/actions_avail').includes('errno'),
    apparmor: read('/sys/module/apparmor/parameters/enabled').startsWith('Y'),
    landlock: landlockVersion(),
    expanded: { [THERMAL]: globSync(THERMAL).sort() },
  };
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Absent where the kernel lacks the feature.
    return '';
  }
}
