/** Ends a run with one plain line of counts, and fails it when a test is skipped that the list of allowed skips lacks. */
import type { Reporter, TestCase, TestModule } from "vitest/node";
import { allowedSkips } from "./skips.js";

function isAllowed(test: TestCase): boolean {
  return allowedSkips.some((skip) => skip.file.test(test.module.moduleId) && skip.name.test(test.fullName));
}

export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const count = (state: string) => tests.filter((test) => test.result().state === state).length;
    const unknown = tests.filter((test) => test.result().state === "skipped" && !isAllowed(test));
    for (const test of unknown)
      console.log(`not on the list of allowed skips: ${test.module.moduleId}: ${test.fullName}`);
    if (unknown.length > 0) process.exitCode = 1;
    console.log(`${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped`);
  }
}
