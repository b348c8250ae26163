# The users' secrets and what the machine is told of them, for deploy-mosquitto.ps1. They read it with `. credentials.ps1`.

# How long a guess takes, and a login: the broker waits for about 30 ms.
$iterations = 60000

function ConvertTo-PlainText {
    param(
        [Parameter(Mandatory)] [object] $Secret
    )
    if ($Secret -is [securestring]) {
        return ConvertFrom-SecureString -SecureString $Secret -AsPlainText
    }
    "$Secret"
}

function ConvertTo-Base64Url {
    param(
        [Parameter(Mandatory)] [byte[]] $Bytes
    )
    [Convert]::ToBase64String($Bytes).TrimEnd('=').Replace('+', '-').Replace('/', '_')
}

# A secret that nobody guesses, as `mqtt-acl token` makes them: 256 random bits and a checksum.
function Get-Token {
    $body = ConvertTo-Base64Url -Bytes ([Security.Cryptography.RandomNumberGenerator]::GetBytes(32))
    $sum = [Security.Cryptography.SHA256]::HashData([Text.Encoding]::ASCII.GetBytes($body))
    "mqttacl_$body$(ConvertTo-Base64Url -Bytes $sum[0..3])"
}

# The policy's string of a token: for 256 random bits, one SHA-256 is enough.
function ConvertTo-TokenString {
    param(
        [Parameter(Mandatory)] [string] $Token
    )
    $digest = [Security.Cryptography.SHA256]::HashData([Text.Encoding]::ASCII.GetBytes($Token))
    '$token$' + (ConvertTo-Base64Url -Bytes $digest)
}

# The policy's string of a password: Mosquitto's own, PBKDF2 with SHA-512.
function ConvertTo-PasswordString {
    param(
        [Parameter(Mandatory)] [string] $Plain
    )
    $salt = [Security.Cryptography.RandomNumberGenerator]::GetBytes(16)
    $hash = [Security.Cryptography.Rfc2898DeriveBytes]::Pbkdf2([Text.Encoding]::UTF8.GetBytes($Plain), $salt, $iterations,
        [Security.Cryptography.HashAlgorithmName]::SHA512, 64)
    '$7$' + $iterations + '$' + [Convert]::ToBase64String($salt) + '$' + [Convert]::ToBase64String($hash)
}

# The users of policy.toml in order, each with its secret, and whether that is a token.
function Get-UserSecret {
    param(
        [string] $Password = '',
        [bool] $UniqueSecrets = $false
    )
    $suffix = [ordered] @{ mqttuser = ''; mqttservice = '2'; dev00001 = '3'; dev00002 = '4'; dev00003 = '5' }
    $secrets = [ordered] @{}
    foreach ($user in $suffix.Keys) {
        $isRandom = $UniqueSecrets -and ($user -ne 'mqttuser' -or $Password -eq '')
        $plain = $isRandom ? (Get-Token) : "$Password$($suffix[$user])"
        $secrets[$user] = @{ Plain = $plain; IsToken = $isRandom }
    }
    $secrets
}

# What the machine is told of them: hashes.
function ConvertTo-PasswordFile {
    param(
        [Parameter(Mandatory)] [object] $Secret
    )
    $tables = foreach ($user in $Secret.Keys) {
        $plain = $Secret[$user].Plain
        $string = $Secret[$user].IsToken ? (ConvertTo-TokenString -Token $plain) : (ConvertTo-PasswordString -Plain $plain)
        "[users.$user]`npassword = `"$string`"`n"
    }
    $tables -join "`n"
}

# Writes them to a file that nobody else may read, which must not be there yet.
function Write-SecretsFile {
    param(
        [Parameter(Mandatory)] [string] $Path,
        [Parameter(Mandatory)] [object] $Secret
    )
    $file = New-Item -ItemType File -Path $Path
    if ($IsWindows) {
        icacls $file.FullName /inheritance:r /grant:r "${env:USERNAME}:F" | Out-Null
        if ($LASTEXITCODE -ne 0) {
            throw "cannot keep others from reading $Path"
        }
    } else {
        [IO.File]::SetUnixFileMode($file.FullName, [IO.UnixFileMode] 'UserRead, UserWrite')
    }
    $lines = foreach ($user in $Secret.Keys) {
        "$user $($Secret[$user].Plain)"
    }
    Set-Content -LiteralPath $file.FullName -Value $lines
}
