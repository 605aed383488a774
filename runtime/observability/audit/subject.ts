/** The subject of a call, without secrets. */
export type AuditSubject = Readonly<Record<string, string | number | boolean>>;

type Fields = Readonly<Record<string, unknown>>;

const longest = 512;

/**
 * Returns the subject of a request: ids, names and images, by an allow-list of fields. Never includes
 * credentials, environment, the values of annotations or labels, the arguments of a command (only its
 * program), or mounts. Pure.
 */
export function auditSubject(request: unknown): AuditSubject {
  const subject: Record<string, string | number | boolean> = {};
  const put = (key: string, value: unknown): void => {
    if (typeof value === 'boolean' || typeof value === 'number') subject[key] = value;
    else if (typeof value === 'string' && value !== '') subject[key] = value.slice(0, longest);
  };
  const message = fields(request);
  put('sandboxId', message.podSandboxId);
  put('containerId', message.containerId);
  put('runtimeHandler', message.runtimeHandler);
  put('image', fields(message.image).image);
  const config = fields(message.config);
  const isContainer = 'image' in config || 'command' in config || 'mounts' in config;
  const pod = fields(
    fields(isContainer ? message.sandboxConfig : (message.sandboxConfig ?? message.config)).metadata,
  );
  put('pod', pod.name);
  put('namespace', pod.namespace);
  put('podUid', pod.uid);
  if (isContainer) {
    put('container', fields(config.metadata).name);
    put('image', fields(config.image).userSpecifiedImage);
    put('image', subject.image ?? fields(config.image).image);
  }
  put('privileged', isPrivileged(isContainer, config) || undefined);
  if (Array.isArray(message.cmd) && message.cmd.length > 0) {
    put('program', message.cmd[0]);
    put('arguments', message.cmd.length - 1);
  }
  put('tty', message.tty === true || undefined);
  if (Array.isArray(message.port) && message.port.length > 0)
    put('ports', message.port.slice(0, 32).join(','));
  put('timeout', typeof message.timeout === 'number' && message.timeout !== 0 ? message.timeout : undefined);
  return subject;
}

/** Returns the ids in the answer of a successful call. */
export function auditResult(response: object | undefined): AuditSubject {
  const { podSandboxId, containerId, imageRef } = fields(response);
  return {
    ...(typeof podSandboxId === 'string' && { sandboxId: podSandboxId }),
    ...(typeof containerId === 'string' && { containerId }),
    ...(typeof imageRef === 'string' && { imageRef }),
  };
}

function isPrivileged(isContainer: boolean, config: Fields): boolean {
  const context = fields(fields(config.linux).securityContext);
  return context.privileged === true && (isContainer || 'metadata' in config);
}

function fields(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}
