"""Which command lines run tests."""

from __future__ import annotations

import pytest

from dre_core.model.observation import runner_of


@pytest.mark.parametrize(
    ("line", "runner"),
    [
        ("node --test", "node --test"),
        ("/usr/bin/node --test --test-reporter=junit a.test.js", "node --test"),
        ("node --enable-source-maps --test", "node --test"),
        ("node server.js --test", ""),
        ("node node_modules/.bin/jest --ci", "jest"),
        ("python3 -m pytest -q", "pytest"),
        ("python3 -c pytest", ""),
        ("go test ./...", "go test"),
        ("go build ./...", ""),
        ("cargo +nightly test --workspace", "cargo test"),
        ("cargo nextest run", "cargo nextest"),
        ("cargo build", ""),
        ("npm run test", "npm test"),
        ("npm run build", ""),
        ("pnpm -r test", "pnpm test"),
        ("mvn -B -ntp clean verify", "mvn verify"),
        ("mvn -B package -DskipTests", ""),
        ("mvn -B verify -DskipTests=false", "mvn verify"),
        ("mvn verify -Dmaven.test.skip.exec", ""),
        ("./mvnw test", "mvnw test"),
        ("java -cp x org.codehaus.plexus.classworlds.launcher.Launcher -q test", "mvn test"),
        ("java -jar app.jar test", ""),
        ("./gradlew --no-daemon :app:test", "gradlew test"),
        ("java -cp w.jar org.gradle.wrapper.GradleWrapperMain check", "gradle check"),
        ("/bin/sh ./gradlew test", "gradlew test"),
        ("/bin/sh -c test", ""),
        ("./gradlew build -x test", ""),
        ("./gradlew build --exclude-task :app:test", ""),
        ("./gradlew check -x lint", "gradlew check"),
        ("./gradlew test --dry-run", ""),
        ("dotnet test", "dotnet test"),
        ("dotnet build", ""),
        ("", ""),
    ],
)
def test_a_runner_is_known_by_its_command_line(line, runner):
    assert runner_of(tuple(line.split())) == runner
