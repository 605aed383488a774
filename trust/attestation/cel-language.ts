import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { celBudget } from './cel-budget.ts';

import { compileCel } from './cel.ts';
import { celOfJson } from './cel-values.ts';

export const celLanguage = {
  compile: compileCel,
  ofJson: celOfJson,
  timestamp: timestampFromDate,
  budget: celBudget,
};
