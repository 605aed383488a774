import type { RegistryRepository } from '../../base/distribution/index.ts';
import type { Daemon } from './daemon.ts';
import type { Image } from './image.ts';
import type { Registry } from './registry.ts';
import type { Environment } from './environment.ts';
import type { StepReport } from './step-report.ts';

/** Text of the image's page. */
export const page = 'Hello from behind the portcullis.';

/** State that all chapters share. */
export interface Context {
  readonly report: StepReport;
  readonly environment: Environment;
  readonly registry: Registry;
  readonly daemon: Daemon;
  readonly repository: RegistryRepository;
  /** Traces in the kernel before the daemon started. */
  readonly untouched: readonly string[];
  /** `127.0.0.1:5000/shop/web:1`. */
  readonly reference: string;
  readonly image: Image;
}
