// Entitlements alone: does a profile grant no more than a ceiling, and what does it let a program do?
//   node compare-profiles.mjs web.yaml baseline 'socket(AF_ALG)'
import {
  compareProfiles,
  describeDifferences,
  describeExplained,
  explainQuestion,
  readOperand,
} from 'portcullis/entitlements';

const [profile = 'default', ceiling = 'privileged', question = 'socket(AF_ALG)'] = process.argv.slice(2);
const target = { architecture: 'x86_64', capabilities: [] };
const [asked, bound] = await Promise.all(
  [profile, ceiling].map((text) => readOperand(text, { target, policy: [] })),
);
const comparison = compareProfiles(asked, bound, { within: true });
console.log(describeDifferences(comparison).trimEnd());
console.log(describeExplained(explainQuestion(asked, question)).trimEnd());
process.exitCode = comparison.holds ? 0 : 1;
