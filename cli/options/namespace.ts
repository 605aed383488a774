import { InvalidArgumentError } from 'commander';

/**
 * Returns the value of an option `--namespace` of a decision. An empty one is refused: the variable of a
 * pipeline that should hold the name is unset, and no rule for a namespace would match.
 * @throws InvalidArgumentError
 */
export function namespaceName(name: string): string {
  if (name !== '') return name;
  throw new InvalidArgumentError('It is empty: name a namespace, or leave out the option.');
}
