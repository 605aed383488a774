import { writeYaml } from '../../base/schema/index.ts';

/** Writes objects of Kubernetes as one text with several documents. */
export function formatYaml(objects: readonly unknown[]): string {
  return objects.map(writeYaml).join('---\n');
}
