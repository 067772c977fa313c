// Writes abi/<Name>.json ({abi, bytecode}) of each contract from what forge compiled; --check compares instead.
const fs = require("node:fs");
const path = require("node:path");

const names = ["Vault", "Registry", "Mandates", "Agreements", "Disputes"];
const isCheck = process.argv[2] === "--check";
fs.mkdirSync(path.join(__dirname, "abi"), { recursive: true });

for (const name of names) {
    const artifact = JSON.parse(fs.readFileSync(path.join(__dirname, "out", `${name}.sol`, `${name}.json`), "utf8"));
    const text = JSON.stringify({ abi: artifact.abi, bytecode: artifact.bytecode.object }, null, 1) + "\n";
    const file = path.join(__dirname, "abi", `${name}.json`);
    if (!isCheck) {
        fs.writeFileSync(file, text);
    } else if (!fs.existsSync(file) || fs.readFileSync(file, "utf8") !== text) {
        console.error(`contracts/abi/${name}.json is not what the sources compile to: run scripts/contracts abi`);
        process.exitCode = 1;
    }
}
