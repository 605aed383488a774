import type { RefusedService, Service } from '../model/model.ts';

/**
 * Services that the control refused, with the reasons. They are put again, because a conflict may be gone.
 */
export interface RefusedServices {
  size(): number;
  names(): readonly string[];
  services(): readonly Service[];
  /** Takes the control's answers to these services. Logs which of them is in force after a refusal. */
  settle(asked: readonly Service[], answers: readonly RefusedService[]): void;
  /** Logs each reason once. */
  report(): void;
  /** Forgets a service that is removed. */
  delete(name: string): void;
  /** Forgets every service whose name is not among these. */
  retain(names: ReadonlySet<string>): void;
}

interface RefusedServicesLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export function createRefusedServices(log: RefusedServicesLog): RefusedServices {
  /** By name. `said`: what was last logged about it. */
  const refused = new Map<
    string,
    { readonly service: Service; readonly answer: RefusedService; said?: string }
  >();
  return {
    size: () => refused.size,
    names: () => [...refused.keys()],
    services: () => [...refused.values()].map(({ service }) => service),
    settle(asked, answers) {
      if (answers.length === 0 && refused.size === 0) return;
      const answerOf = new Map(answers.map((answer) => [answer.name, answer]));
      for (const service of asked) {
        const answer = answerOf.get(service.name);
        const before = refused.get(service.name);
        if (answer !== undefined)
          refused.set(service.name, {
            service,
            answer,
            ...(before?.said !== undefined && { said: before.said }),
          });
        else if (refused.delete(service.name) && before?.said !== undefined)
          log.info({ service: service.name }, 'a Kubernetes service that was refused is now in force');
      }
    },
    report() {
      for (const each of refused.values()) {
        const { code, field, why } = each.answer;
        const said = `${code} ${field} ${why}`;
        if (each.said !== said)
          log.warn({ service: each.answer.name, code, field, why }, 'a Kubernetes service was refused');
        each.said = said;
      }
    },
    delete: (name) => void refused.delete(name),
    retain(names) {
      for (const name of refused.keys()) if (!names.has(name)) refused.delete(name);
    },
  };
}
