import { checkedSet, checkProfiles } from '../../entitlements/index.ts';
import type { ProfileSet } from '../../entitlements/index.ts';
import { closest } from '../../base/lists/index.ts';
import { sortProblems } from '../../base/schema/index.ts';
import type { Problem } from '../../base/schema/index.ts';
import type { LoadedPolicy } from '../../trust/index.ts';
import { policyInvalid, readPolicy } from '../../trust/policy/index.ts';

/** A policy with the profiles of its files: what a daemon puts in force. */
interface PolicySet extends LoadedPolicy {
  readonly profiles: ProfileSet;
}

/**
 * Loads the policy and the profiles of files and folders, as the daemon puts them in force. Each file is read
 * once. A ceiling that a rule names must be a profile that exists and is complete.
 * @throws PortcullisError `TRUST_POLICY_INVALID`. `details.problems` holds every problem of policies and
 * profiles, each with file, line and column, and `details.files` the files that were read
 */
export async function loadPolicySet(options: Parameters<typeof readPolicy>[0]): Promise<PolicySet> {
  const { policy, sources, problems, texts, ceilings, ...read } = await readPolicy(options);
  const checked = checkProfiles(texts);
  const profiles = checkedSet(checked);
  const unknownCeiling = suggester(profiles);
  const unresolved = ceilings.flatMap(({ ceiling, position, path }): Problem[] => {
    if (profiles.resolve(ceiling) !== undefined) return [];
    const missing = checked.incomplete.get(ceiling);
    const [message, fix] =
      missing === undefined ? unknownCeiling(ceiling) : incompleteCeiling(ceiling, missing);
    // A broken document has its own problem, and can define this profile.
    return missing === undefined && checked.problems.length > 0 && checked.mayExist(ceiling)
      ? []
      : [{ position, path, message, fix }];
  });
  // A document with a misspelt kind is no policy and no profile: the message that suggests a kind is printed.
  const places = new Set(checked.problems.map(placeOf));
  const others = problems.filter((problem) => !places.has(placeOf(problem)));
  const all = sortProblems([...others, ...checked.problems, ...unresolved]);
  if (policy === undefined || sources === undefined || all.length > 0)
    throw policyInvalid(options.paths, all, read.files);
  return { policy, sources, profiles, ...read };
}

const placeOf = ({ position, path }: Problem): string =>
  JSON.stringify([position.file, position.line, position.column, path]);

/** A comparison with all names takes time, and only the first problems are listed. */
const mostCompared = 50;

/** Returns the function that describes an unknown ceiling. It suggests a name for the first of them only. */
function suggester(profiles: ProfileSet): (name: string) => [string, string] {
  let names: readonly string[] | undefined;
  let compared = 0;
  return (name) => {
    names ??= profiles.names();
    compared += 1;
    const near = compared > mostCompared ? undefined : closest(name, names);
    const fix =
      near === undefined
        ? `define it in a document of kind EntitlementProfile, or use one of: ${names.slice(0, 20).join(', ')}`
        : `did you mean \`${near}\`?`;
    return [`the profile \`${name.slice(0, 80)}\` does not exist`, fix];
  };
}

function incompleteCeiling(name: string, parameters: readonly string[]): [string, string] {
  return [
    `the profile \`${name}\` has no value for ${parameters.map((one) => `\`${one}\``).join(', ')}`,
    'name a profile that extends it and sets the values, or define default values',
  ];
}
