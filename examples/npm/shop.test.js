const assert = require("node:assert");
const test = require("node:test");

test("a discount of 10 percent", () => {
  assert.strictEqual(Math.floor((1999 * 90) / 100), 1799);
});
