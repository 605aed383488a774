import type { Backend, ServicePort } from './model.ts';

/** Returns the port number at which a backend serves a port of its service. */
export function portAt(
  { ports = {} }: Pick<Backend, 'ports'>,
  { name, targetPort }: Pick<ServicePort, 'name' | 'targetPort'>,
): number {
  // A port may have the name `constructor`, which every object has.
  return (Object.hasOwn(ports, name) ? ports[name] : undefined) ?? targetPort;
}
