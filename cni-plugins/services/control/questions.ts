import { PortcullisError } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { canonical } from '../description/short-forms.ts';
import type { Balancer, RefusedService } from '../model/model.ts';
import type { SwitchableBalancer } from '../switch/switch.ts';
import { chooseBalancer } from './choose.ts';
import type { ServiceCore } from './core.ts';
import type { HealthChecks } from './health/checks.ts';
import type { BalancerChoice, ServiceList, ServiceQuestion } from './protocol.ts';
import { reportServices } from './report.ts';
import type { ReportPage } from './report.ts';

/** The source of services that commands apply. */
const commandSource = 'command';

export interface AnsweringDeps {
  readonly core: ServiceCore;
  readonly checks: HealthChecks;
  readonly balancer: SwitchableBalancer;
  readonly log: Pick<Logger, 'info'>;
  problems(): readonly string[];
}

export interface AppliedServices {
  readonly refused: readonly RefusedService[];
}

/**
 * Answers a command, as JSON.
 * @throws NETWORK_BALANCER_MISSING · NETWORK_SERVICE_UNKNOWN · NETWORK_SERVICE_NOT_YOURS ·
 * NETWORK_SERVICE_BACKEND_UNKNOWN
 */
export function answerQuestion(
  question: ServiceQuestion,
  { core, checks, balancer, log, problems }: AnsweringDeps,
): string {
  switch (question.do) {
    case 'list':
      return listPage(question, { core, checks, balancer, problems });
    case 'apply': {
      const refused = core.apply(commandSource, question.services, false);
      log.info(
        { services: question.services.length, refused: refused.length },
        'services were applied by a command',
      );
      return JSON.stringify({ refused } satisfies AppliedServices);
    }
    case 'remove':
      for (const name of question.names) {
        const held = core.held.get(name);
        if (held === undefined) throw unknownService('remove the service', name);
        if (held.source !== commandSource) throw ofOther(name, held.source);
      }
      core.remove(commandSource, question.names);
      log.info({ services: question.names }, 'services were removed by a command');
      return JSON.stringify({});
    case 'drain': {
      const { name, is } = question;
      const held = core.held.get(name);
      if (held === undefined) throw unknownService('drain the service', name);
      const all = is ? held.service.backends.map(({ address }) => address) : [...held.drained];
      const addresses = [
        ...new Set(question.addresses.length === 0 ? all : question.addresses.map(canonical)),
      ];
      const unknown = core.drain(name, addresses, is);
      if (unknown.length > 0) throw unknownBackend(name, unknown);
      log.info(
        { service: name, backends: addresses },
        is ? 'backends are drained by a command' : 'backends are no longer drained',
      );
      return JSON.stringify({
        service: name,
        backends: addresses,
        graceSeconds: held.service.drainGraceSeconds,
      });
    }
    case 'switch':
      return JSON.stringify(switchBalancer(question.balancer, core, balancer));
  }
}

/** Builds text service by service: thousands of objects would take many times the memory of their texts. */
function listPage(
  page: ReportPage,
  { core, checks, balancer, problems }: Omit<AnsweringDeps, 'log'>,
): string {
  const retiring = balancer.retiring();
  const reports = reportServices(core, checks, page);
  const services: string[] = [];
  for (;;) {
    const { done, value } = reports.next();
    if (done !== true) {
      services.push(JSON.stringify(value));
      continue;
    }
    const head: Omit<ServiceList, 'services'> = {
      balancer: balancer.kind,
      ...(retiring !== undefined && { retiring }),
      ...(value !== undefined && { next: value }),
      problems: page.after === undefined ? problems() : [],
    };
    return `${JSON.stringify(head).slice(0, -1)},"services":[${services.join()}]}`;
  }
}

export interface SwitchedBalancer {
  readonly balancer: Balancer['kind'];
  /** Services that the balancer cannot serve, by name, with the reason. */
  readonly refused: readonly string[];
}

/** @throws NETWORK_BALANCER_MISSING · the kernel's refusal; the previous state is then unchanged */
function switchBalancer(
  choice: BalancerChoice,
  core: ServiceCore,
  balancer: SwitchableBalancer,
): SwitchedBalancer {
  try {
    balancer.switchTo(chooseBalancer(choice), () => core.judgeFor(balancer));
  } catch (thrown) {
    core.judgeFor(balancer);
    throw thrown;
  }
  const refused = [...core.held].flatMap(([name, { refusal }]) =>
    refusal === undefined ? [] : [`${name}: ${refusal.field}: ${refusal.why}`],
  );
  return { balancer: balancer.kind, refused };
}

function unknownService(attempted: string, on: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_SERVICE_UNKNOWN',
    kind: 'not-found',
    attempted,
    on,
    why: 'no service has this name',
    fix: 'list the services with portcullis service ls',
  });
}

function ofOther(on: string, source: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_SERVICE_NOT_YOURS',
    kind: 'precondition',
    attempted: 'remove the service',
    on,
    why: `the service comes from another source: ${source}`,
    fix:
      source === 'files'
        ? 'remove it from the files in network.services.folder'
        : `remove it at this source, because ${source} would restore it`,
  });
}

function unknownBackend(name: string, addresses: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_SERVICE_BACKEND_UNKNOWN',
    kind: 'not-found',
    attempted: 'drain backends of the service',
    on: name,
    why: `the service has no backend ${addresses.join(', ')}`,
    fix: 'use addresses that portcullis service ls shows, without a port; nothing was changed',
  });
}
