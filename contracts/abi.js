// Writes abi/<Name>.json ({abi, bytecode}) of each contract from what forge compiled; --check compares instead, and wants
// each function, event and error explained.
const fs = require("node:fs");
const path = require("node:path");

const names = ["Vault", "Registry", "Mandates", "Agreements", "Disputes"];
const isCheck = process.argv[2] === "--check";
fs.mkdirSync(path.join(__dirname, "abi"), { recursive: true });

const typeOf = (input) => input.type.replace("tuple", `(${(input.components ?? []).map(typeOf).join(",")})`);
const kinds = { function: "methods", event: "events", error: "errors" };

// What the compiler found no comment for. Forge's own reading of the metadata leaves out events and errors.
function unexplained({ abi, rawMetadata }) {
    const { devdoc, userdoc } = JSON.parse(rawMetadata).output;
    const known = new Set(Object.values(kinds).flatMap((kind) => Object.keys({ ...devdoc[kind], ...userdoc[kind] })));
    // OpenZeppelin says nothing of these.
    for (const name of ["InvalidShortString()", "StringTooLong(string)"]) known.add(name);
    const entries = abi.filter((entry) => Object.hasOwn(kinds, entry.type));
    return entries.map((entry) => `${entry.name}(${entry.inputs.map(typeOf).join(",")})`).filter((name) => !known.has(name));
}

function complain(text) {
    console.error(text);
    process.exitCode = 1;
}

for (const name of names) {
    const artifact = JSON.parse(fs.readFileSync(path.join(__dirname, "out", `${name}.sol`, `${name}.json`), "utf8"));
    const text = JSON.stringify({ abi: artifact.abi, bytecode: artifact.bytecode.object }, null, 1) + "\n";
    const file = path.join(__dirname, "abi", `${name}.json`);
    if (!isCheck) {
        fs.writeFileSync(file, text);
        continue;
    }
    if (!fs.existsSync(file) || fs.readFileSync(file, "utf8") !== text) {
        complain(`contracts/abi/${name}.json is not what the sources compile to: run scripts/contracts abi`);
    }
    for (const missing of unexplained(artifact)) complain(`${name}: ${missing} has no comment`);
}
