/** Fails the run when a test is skipped that the list of allowed skips does not hold. */
import type { Reporter, TestCase, TestModule } from "vitest/node";
import { allowedSkips } from "./skips.js";

function isAllowed(test: TestCase): boolean {
  const [file, name] = [test.module.moduleId, test.fullName];
  return allowedSkips.some((skip) => skip.file.test(file) && skip.name.test(name));
}

export default class SkipReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const skipped = modules.flatMap((module) => [...module.children.allTests("skipped")]);
    const unknown = skipped.filter((test) => !isAllowed(test));
    if (skipped.length > 0)
      console.log(`\n${skipped.length} skipped, ${unknown.length} of them not on the list of allowed skips`);
    for (const test of unknown) console.log(`  not allowed to skip: ${test.module.moduleId}: ${test.fullName}`);
    if (unknown.length > 0) process.exitCode = 1;
  }
}
