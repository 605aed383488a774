import type { Architecture } from '../deb/control.ts';

/** The names of Node and npm for the architectures of Debian. */
const npmArchitectures: Readonly<Record<Architecture, string>> = { amd64: 'x64', arm64: 'arm64' };

/** Returns the packages that an architecture needs beside the bundle: Node, and koffi's native part. */
export function platformPackages(architecture: Architecture): readonly string[] {
  const platform = `linux-${npmArchitectures[architecture]}`;
  return [`node-${platform}`, `@koromix/koffi-${platform}`];
}
