// Ask the scoring server (mlflow run inference -e serve) about the rows of a CSV file. Usage: node client.js FILE [URL]
const fs = require("fs");

async function main([file, url = "http://127.0.0.1:5001"]) {
  const answer = await fetch(`${url}/invocations`, {
    method: "POST",
    headers: { "Content-Type": "text/csv" },
    body: fs.readFileSync(file),
    signal: AbortSignal.timeout(30_000),
  });
  console.log(await answer.text());
  process.exitCode = answer.ok ? 0 : 1;
}

main(process.argv.slice(2)).catch((error) => {
  console.error(String(error.cause ?? error));
  process.exitCode = 1;
});
