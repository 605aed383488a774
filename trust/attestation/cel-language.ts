import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { celBudget } from './cel-budget.ts';
import type { CelLanguage } from './cel-loaded.ts';
import { compileCel } from './cel.ts';
import { celOfJson } from './cel-values.ts';

export const celLanguage: CelLanguage = {
  compile: compileCel,
  ofJson: celOfJson,
  timestamp: timestampFromDate,
  budget: celBudget,
};
