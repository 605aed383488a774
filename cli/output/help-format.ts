import { Help } from 'commander';
import type { Command, Option } from 'commander';

/**
 * Makes the help of a program, and of the commands that are added to it later, leave out defaults that say
 * nothing: `false`, no text, and an empty list.
 */
export function leaveOutEmptyDefaults(program: Command): void {
  program.configureHelp({
    optionDescription(this: Help, option: Option) {
      const shown: Option = isEmpty(option.defaultValue)
        ? Object.assign(Object.create(option) as Option, { defaultValue: undefined })
        : option;
      return Help.prototype.optionDescription.call(this, shown);
    },
  });
}

const isEmpty = (value: unknown): boolean =>
  value === false ||
  value === '' ||
  (typeof value === 'object' && value !== null && Object.keys(value).length === 0);
