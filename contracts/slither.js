// Compares what slither found (its JSON) with the answers in SLITHER.md: every finding has one, every answer a finding.
const fs = require("node:fs");
const path = require("node:path");

const report = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
if (!report.success) throw new Error(`slither failed: ${report.error}`);

// A row: | `detector` | `place`, `place` or "everywhere" | why |
const text = fs.readFileSync(path.join(__dirname, "SLITHER.md"), "utf8");
const cells = text.split("\n").map((line) => line.split("|").map((cell) => cell.trim()));
const rows = cells.filter((row) => row.length === 5);
const answers = new Map();
for (const [, detector, places] of rows.slice(2)) {
    const named = [...places.matchAll(/`([^`]+)`/g)].map((match) => match[1]);
    const names = places === "everywhere" ? [places] : named;
    for (const name of names) answers.set(`${detector.replaceAll("`", "")} ${name}`, false);
}

const nameOf = (element) => {
    const parent = element.type_specific_fields?.parent;
    // What is inside a function is found at the function.
    if (element.type !== "function" && parent?.type === "function") return nameOf(parent);
    return parent?.type === "contract" ? `${parent.name}.${element.name}` : element.name;
};

for (const finding of report.results.detectors ?? []) {
    const place = nameOf(finding.elements[0]);
    const answer = [`${finding.check} ${place}`, `${finding.check} everywhere`].find((key) => answers.has(key));
    if (answer !== undefined) {
        answers.set(answer, true);
        continue;
    }
    console.error(`${finding.check} at ${place} has no answer in contracts/SLITHER.md:\n${finding.description}`);
    process.exitCode = 1;
}
for (const [answer, isUsed] of answers) {
    if (isUsed) continue;
    console.error(`contracts/SLITHER.md answers ${answer}, which slither does not find any more`);
    process.exitCode = 1;
}
